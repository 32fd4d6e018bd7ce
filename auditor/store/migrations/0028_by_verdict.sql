-- First, as it waits for what is under way: counts by hour that those below take the place of.
ALTER TABLE request_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_user;

ALTER TABLE cloudtrail_rows {{.OnCluster}} DROP PROJECTION IF EXISTS by_hour_call;

-- The same counts by the verdict first: who is asked about by user is almost always of a
-- verdict that few calls have, and of these alone there is next to nothing to read.
ALTER TABLE request_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_verdict (SELECT verdict, toStartOfHour(received_at), account, user, outcome, count()
        GROUP BY verdict, toStartOfHour(received_at), account, user, outcome);

ALTER TABLE cloudtrail_rows {{.OnCluster}}
    ADD PROJECTION IF NOT EXISTS by_verdict (SELECT verdict, toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, startsWith(judged, '1\tshared_event\t'), count()
        GROUP BY verdict, toStartOfHour(event_time), recipient_account_id, identity_account_id, federated_user, lent_to, present, startsWith(judged, '1\tshared_event\t'));

ALTER TABLE request_rows {{.OnCluster}} MATERIALIZE PROJECTION by_verdict;

ALTER TABLE cloudtrail_rows {{.OnCluster}} MATERIALIZE PROJECTION by_verdict;
