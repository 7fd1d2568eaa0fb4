"""Workers carry messages from commit to effect: relay, inbox, consumers, timers, projections, sagas."""
