"""System calls that Python 3.11's ``os`` lacks, and their constants. One function per call, OSError on failure, no policy."""
