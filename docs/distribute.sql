-- Lets Citus keep each user's rows together on one of several machines, with the rows that are there: see scale.md.
-- Run it on the coordinator once the service has made its tables; if Better Auth's has another name, say so here.
-- What refers to the users stays as it is meanwhile: Citus distributes no table that one of its own local tables refers to.
SET citus.enable_local_reference_table_foreign_keys TO off;
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
RESET citus.enable_local_reference_table_foreign_keys;
-- Better Auth's other tables stay on the coordinator; Citus has to know them, or their rows would outlive their user.
-- By their names: of each that it gets to know Citus makes another table under the same one.
DO $$
DECLARE
    its text;
BEGIN
    FOREACH its IN ARRAY ARRAY(SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
                               WHERE contype = 'f' AND confrelid = '"user"'::regclass) LOOP
        IF NOT EXISTS (SELECT FROM citus_tables WHERE table_name = its::regclass) THEN
            PERFORM citus_add_local_table_to_metadata(its::regclass, cascade_via_foreign_keys => true);
        END IF;
    END LOOP;
END $$;
