"""What the database needs: connections, the line in front of them, prepared statements. db.py is its face."""
