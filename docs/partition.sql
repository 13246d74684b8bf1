-- Divides the tasks into 16 hash partitions by their owner, in place and with their rows: see scale.md.
-- Stop the service first; while it runs, nobody else reads or writes tasks.
BEGIN;
ALTER TABLE tasks RENAME TO tasks_whole;
CREATE TABLE tasks (LIKE tasks_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY HASH (user_id);
ALTER SEQUENCE tasks_id_seq OWNED BY tasks.id;
DO $$
DECLARE
    its record;
BEGIN
    FOR number IN 0..15 LOOP
        EXECUTE format('CREATE TABLE tasks_%s PARTITION OF tasks FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
                       number, number);
    END LOOP;
    INSERT INTO tasks SELECT * FROM tasks_whole;
    FOR its IN SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
               WHERE conrelid = 'tasks_whole'::regclass AND contype IN ('p', 'f') LOOP
        EXECUTE format('ALTER TABLE tasks_whole DROP CONSTRAINT %I', its.name);
        EXECUTE format('ALTER TABLE tasks ADD CONSTRAINT %I %s', its.name, its.definition);
    END LOOP;
    FOR its IN SELECT indexrelid::regclass AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
               WHERE indrelid = 'tasks_whole'::regclass LOOP
        EXECUTE format('DROP INDEX %s', its.name);
        EXECUTE replace(its.definition, '.tasks_whole ', '.tasks ');
    END LOOP;
    FOR its IN SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger
               WHERE tgrelid = 'tasks_whole'::regclass AND NOT tgisinternal LOOP
        EXECUTE replace(its.definition, '.tasks_whole ', '.tasks ');
    END LOOP;
END $$;
DROP TABLE tasks_whole;
-- A plan for any partition is kept; PostgreSQL would plan each statement anew otherwise.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database()); END $$;
COMMIT;
