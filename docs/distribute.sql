-- Lets Citus keep each user's rows together on one of several machines, with the rows that are there: see scale.md.
-- Run it on the coordinator once the service has made its tables; if Better Auth's has another name, say so here.
SELECT create_reference_table('"user"');
SELECT create_distributed_table('tasks', 'user_id');
SELECT create_distributed_table('idempotency_keys', 'user_id', colocate_with => 'tasks');
