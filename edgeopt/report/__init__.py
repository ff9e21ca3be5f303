"""What people and programs are shown: tables, documents and their schemas. Pure: records in, renderables and data out."""
