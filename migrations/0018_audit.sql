-- clinic: auditors ask the journal and the log of reading by who did it and when.
CREATE INDEX journal_actor ON journal (actor, position);
-- Both grow in the order of time, so a summary of each block is enough, and costs a writer nothing.
CREATE INDEX journal_time ON journal USING brin (at);
CREATE INDEX access_log_time ON access_log USING brin (at);
CREATE INDEX access_log_actor ON access_log (actor, id);
