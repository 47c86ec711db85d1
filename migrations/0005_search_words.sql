-- catalog: the words of services' names, so that a typing error is looked up among words and not among services.
CREATE TABLE search_word (
  word text PRIMARY KEY
);
CREATE INDEX search_word_alike ON search_word USING gin (word gin_trgm_ops);
GRANT SELECT ON search_word TO clinic_app;

-- A word stays when no service has it any more: it then finds nothing.
CREATE FUNCTION search_words_of_services() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO search_word
  SELECT DISTINCT word FROM touched, regexp_split_to_table(search, '[^a-zа-я]+') AS word
   WHERE length(word) >= 3 AND word NOT IN (SELECT word FROM search_word)
   ORDER BY word
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER medical_service_words_added AFTER INSERT ON medical_service REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION search_words_of_services();
CREATE TRIGGER medical_service_words_changed AFTER UPDATE ON medical_service REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION search_words_of_services();
INSERT INTO search_word
SELECT DISTINCT word FROM medical_service, regexp_split_to_table(search, '[^a-zа-я]+') AS word WHERE length(word) >= 3;

-- What a typed word may mean, as a regular expression: itself where a name has it, else the words most like it.
CREATE FUNCTION search_words_meant(typed text) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp SET pg_trgm.word_similarity_threshold = 0.4 AS $$
  SELECT CASE
    WHEN typed ~ '[^a-zа-я]' OR EXISTS (SELECT FROM search_word WHERE word LIKE '%' || typed || '%')
    THEN regexp_replace(typed, '([^a-zа-я0-9])', '\\\1', 'g')
    ELSE (SELECT string_agg(word, '|' ORDER BY word)
            FROM (SELECT word, word_similarity(typed, word) AS alike,
                         max(word_similarity(typed, word)) OVER () AS most
                    FROM search_word WHERE typed <% word) AS resembling
           WHERE alike >= most - 0.1)
  END
$$;

-- The longest word first, for the index; the limit bounds the work when half the catalog resembles the words.
CREATE OR REPLACE FUNCTION services_resembling(words text[]) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
  meant text[] := (SELECT array_agg(search_words_meant(word) ORDER BY length(word) DESC) FROM unnest(words) AS word);
BEGIN
  IF array_position(meant, NULL) IS NULL THEN
    RETURN QUERY SELECT id FROM medical_service WHERE search ~ meant[1] AND search ~ ALL (meant)
                  ORDER BY article LIMIT 200;
  END IF;
END $$;
ALTER FUNCTION services_resembling RESET pg_trgm.word_similarity_threshold;
