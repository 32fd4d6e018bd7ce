-- Merges took more of the processor than the inserts: a batch's part is small, and small
-- parts were written anew some six times before they were a large one. By this it is two
-- or three times, and twice as many parts lie there while rows come in. Parts that
-- nothing is added to are merged as before.
ALTER TABLE events {{.OnCluster}} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE request_rows {{.OnCluster}} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE cloudtrail_rows {{.OnCluster}} MODIFY SETTING merge_selector_base = 10;
