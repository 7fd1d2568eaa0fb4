"""Profiles the processes of a fleet: where this folder is in its path, Python imports a module of this name first."""

import atexit
import cProfile
import os
import sys
import time

folder = os.environ.get("COLONNADE_BENCH_PROFILES")
if folder and sys.orig_argv[1:3] == ["-m", "colonnade.cli.process"]:
    profile = cProfile.Profile(time.thread_time)
    atexit.register(profile.dump_stats, f"{folder}/{os.getpid()}")
    profile.enable()
