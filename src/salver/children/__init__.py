"""Models in processes of their own: started, fed, watched and replaced by the server."""
