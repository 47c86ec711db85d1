-- catalog: what everybody may see of the prices, said once for the feed, its search and the pages.

-- Prices of the public list that can be charged, each until it is no longer, or until its service is sold no longer.
CREATE VIEW public_price AS
  SELECT price.service_id, price.doctor_rank, price.kind, price.amount, price.order_id,
         daterange(lower(price.valid), least(upper(price.valid), service.inactive_since)) AS valid
    FROM price
    JOIN price_list ON price_list.code = price.price_list AND price_list.public
    JOIN medical_service AS service ON service.id = price.service_id
   WHERE price.price_list = 'base'
     AND price.corrected_by IS NULL
     AND price.kind <> 'withdrawn'
     AND (lower(price.valid) < service.inactive_since) IS NOT FALSE;
GRANT SELECT ON public_price TO clinic_app;

-- As services_resembling, by the words and of the services alone that are public in these days: one that only an
-- insurer's or the staff's list has must not push a public one out of the limit, nor be told by what is not found.
CREATE FUNCTION public_services_resembling(words text[], days daterange) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
  meant text[] := (SELECT array_agg(search_words_meant(word, true) ORDER BY length(word) DESC) FROM unnest(words) AS word);
BEGIN
  IF array_position(meant, NULL) IS NULL THEN
    RETURN QUERY SELECT id FROM medical_service AS service
                  WHERE search ~ meant[1] AND search ~ ALL (meant)
                    AND EXISTS (SELECT FROM public_price WHERE service_id = service.id AND valid && days)
                  ORDER BY article LIMIT 200;
  END IF;
END $$;
