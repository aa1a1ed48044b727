"""Pictures and clips of events: made in workers beside their loops, kept and handed out by the supervisor."""
