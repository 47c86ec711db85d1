-- billing: decisions on a discount are told apart by the order they were made in, not by the clocks of who made them.
ALTER TABLE discount_approval ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY;
