-- clinic: two guards that a temporary table could lead astray, and rights that the application never used.
ALTER FUNCTION keep_an_administrator() SET search_path = public, pg_temp;
ALTER FUNCTION end_sessions() SET search_path = public, pg_temp;

-- Recovery codes go with their second factor, by the foreign key; an identity is for ever.
REVOKE DELETE ON recovery_code, staff_identity FROM clinic_app;

REVOKE UPDATE ON nomenclature FROM clinic_app;
GRANT UPDATE (official_id, name, in_force, ended_on) ON nomenclature TO clinic_app;
