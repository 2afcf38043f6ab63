"""What the rooms speak of: element types, signatures, servables, requests, models."""
