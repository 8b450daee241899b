"""What Postgres' catalog holds of the ledger: one line for each thing that a migration makes."""

from sqlalchemy import Connection, text

_DESCRIPTION = text(r"""
    select line from (
        select format('column %s.%s #%s %s%s%s%s', relation.relname, attname, attnum,
                      format_type(atttypid, atttypmod), case when attnotnull then ' not null' else '' end,
                      coalesce(' default ' || pg_get_expr(adbin, adrelid), ''),
                      case when attidentity <> '' then ' identity ' || attidentity::text else '' end)
               || coalesce(' -- ' || col_description(attrelid, attnum), '')
        from pg_attribute join pg_class as relation on relation.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relation.relkind = 'r' and attnum > 0 and not attisdropped
          and relnamespace = to_regnamespace('wecom')
        union all
        select format('constraint %s.%s %s%s', conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid),
                      case when convalidated then '' else ' NOT VALIDATED' end)
        from pg_constraint where connamespace = to_regnamespace('wecom') and contype in ('c', 'f', 'p', 'u')
        union all
        select format('index %s%s', pg_get_indexdef(indexrelid),
                      case when indisvalid and indisready and indislive then '' else ' INVALID' end)
        from pg_index join pg_class as relation on relation.oid = indexrelid
        where relnamespace = to_regnamespace('wecom')
        union all
        select 'function ' || regexp_replace(pg_get_functiondef(pg_proc.oid), '\s+', ' ', 'g')
        from pg_proc where pronamespace = to_regnamespace('wecom')
        union all
        select format('relation %s %s%s', relkind, relname, coalesce(' -- ' || obj_description(oid, 'pg_class'), ''))
        from pg_class where relnamespace = to_regnamespace('wecom') and relkind not in ('i', 't')
        union all
        select format('trigger %s on %s', tgname, tgrelid::regclass)
        from pg_trigger join pg_class as relation on relation.oid = tgrelid
        where relnamespace = to_regnamespace('wecom') and not tgisinternal
    ) as lines (line)
    order by line collate "C"
""")


def catalog(connection: Connection) -> list[str]:
    """Describe columns with their places, constraints, indexes, functions and tables, sorted.

    Nothing in it depends on how a table came to be what it is, but for the places of its columns. What is invalid or
    was not validated says so.
    """
    connection.execute(text("set local search_path = pg_catalog"))  # or what is in the default schema has no schema
    return list(connection.scalars(_DESCRIPTION))
