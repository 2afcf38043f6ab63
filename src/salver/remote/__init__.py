"""Models in object stores, behind web servers and in hubs. Imported when a base path names one."""
