-- Run once on a restored database, before the service is started on it: psql "$DATABASE_URL_UNPOOLED" -f docs/after-restore.sql
-- Clients have seen more than is there now. So that nothing of it is taken for what comes next under the same number:
-- every cursor of changes from before is a 410 cursor_expired, and no ETag or version that was lost comes again.
BEGIN;
ALTER TABLE tasks DISABLE TRIGGER USER; -- these are no changes of anybody's
UPDATE tasks SET version = version + 1000;
ALTER TABLE tasks ENABLE TRIGGER USER;
-- The transaction was the old server's; the new one counts its own, and comes to the same number some day.
UPDATE change_counters SET seq = seq + 1000000, floor = seq + 1000000, transaction_id = NULL;
COMMIT;
