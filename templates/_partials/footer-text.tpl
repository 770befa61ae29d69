
-- 
Usual Store
Questions? Write to support@usualstore.com.
