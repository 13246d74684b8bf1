-- Lets Citus keep each user's rows together on one of several machines, with the rows that are there: see scale.md.
-- Run it on the coordinator once the service has made its tables; if Better Auth's has another name, say so here.
SELECT create_reference_table('"user"');
SELECT create_distributed_table('tasks', 'user_id');
SELECT create_distributed_table('idempotency_keys', 'user_id', colocate_with => 'tasks');
-- The log of changes: its triggers touch only rows of the same user, which are on the same machine.
SELECT create_distributed_table('change_counters', 'user_id', colocate_with => 'tasks');
SELECT create_distributed_table('task_events', 'user_id', colocate_with => 'tasks');
SELECT create_distributed_table('change_sources', 'user_id', colocate_with => 'tasks');
SELECT create_distributed_table('calendars', 'user_id', colocate_with => 'tasks');
-- What is said to the assistant.
SELECT create_distributed_table('conversations', 'user_id', colocate_with => 'tasks');
SELECT create_distributed_table('messages', 'user_id', colocate_with => 'tasks');
SELECT create_distributed_table('assistant_usage', 'user_id', colocate_with => 'tasks');
