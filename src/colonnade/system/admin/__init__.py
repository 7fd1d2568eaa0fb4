"""Acting on a system from outside its process: through the admin socket when it runs, on its stores when not."""
