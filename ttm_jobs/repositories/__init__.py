"""All SQL. Functions over a Session, one aggregate a file; none commits."""
