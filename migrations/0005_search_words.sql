-- catalog: the words of services' names, so that a typing error is looked up among words and not among services.
CREATE TABLE search_word (
  word text PRIMARY KEY,
  -- Whether a service that is or was in the public list has it: strangers are not helped by the words of others.
  public boolean NOT NULL
);
CREATE INDEX search_word_alike ON search_word USING gin (word gin_trgm_ops);
GRANT SELECT ON search_word TO clinic_app;

-- A word stays when no service has it any more: it then finds nothing.
CREATE FUNCTION search_words_add(services uuid[]) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
  INSERT INTO search_word (word, public)
  SELECT word, bool_or(EXISTS (SELECT FROM price JOIN price_list ON price_list.code = price_list AND price_list.public
                                WHERE service_id = service.id AND price.kind <> 'withdrawn'))
    FROM medical_service AS service, regexp_split_to_table(search, '[^a-zа-я]+') AS word
   WHERE service.id = ANY (services) AND length(word) >= 3
   GROUP BY word
   ORDER BY word
  ON CONFLICT (word) DO UPDATE SET public = true WHERE EXCLUDED.public AND NOT search_word.public
$$;
REVOKE EXECUTE ON FUNCTION search_words_add FROM PUBLIC;

CREATE FUNCTION search_words_of_services() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM search_words_add((SELECT array_agg(id) FROM touched));
  RETURN NULL;
END $$;
CREATE TRIGGER medical_service_words_added AFTER INSERT ON medical_service REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION search_words_of_services();
CREATE TRIGGER medical_service_words_changed AFTER UPDATE ON medical_service REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION search_words_of_services();

CREATE FUNCTION search_words_of_prices() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM search_words_add((SELECT array_agg(DISTINCT service_id) FROM touched));
  RETURN NULL;
END $$;
CREATE TRIGGER price_words_added AFTER INSERT ON price REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION search_words_of_prices();
SELECT search_words_add((SELECT array_agg(id) FROM medical_service));

-- What a typed word may mean, as a regular expression: itself where a name has it, else the words most like it.
CREATE FUNCTION search_words_meant(typed text, only_public boolean) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp SET pg_trgm.word_similarity_threshold = 0.4 AS $$
  SELECT CASE
    WHEN typed ~ '[^a-zа-я]'
      OR EXISTS (SELECT FROM search_word WHERE word LIKE '%' || typed || '%' AND (public OR NOT only_public))
    THEN regexp_replace(typed, '([^a-zа-я0-9])', '\\\1', 'g')
    ELSE (SELECT string_agg(word, '|' ORDER BY word)
            FROM (SELECT word, word_similarity(typed, word) AS alike,
                         max(word_similarity(typed, word)) OVER () AS most
                    FROM search_word WHERE typed <% word AND (public OR NOT only_public)) AS resembling
           WHERE alike >= most - 0.1)
  END
$$;

-- The longest word first, for the index; the limit bounds the work when half the catalog resembles the words.
CREATE OR REPLACE FUNCTION services_resembling(words text[]) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
  meant text[] := (SELECT array_agg(search_words_meant(word, false) ORDER BY length(word) DESC) FROM unnest(words) AS word);
BEGIN
  IF array_position(meant, NULL) IS NULL THEN
    RETURN QUERY SELECT id FROM medical_service WHERE search ~ meant[1] AND search ~ ALL (meant)
                  ORDER BY article LIMIT 200;
  END IF;
END $$;
ALTER FUNCTION services_resembling RESET pg_trgm.word_similarity_threshold;
