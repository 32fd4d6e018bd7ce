package engine

// Exit codes of [Main], on every system. The cause is on standard error.
const (
	ExitStopped = 0 // it was asked to stop, and closed its tables
	ExitFailed  = 1 // the engine refused to start, or ended by itself
	ExitUsage   = 2
	ExitNoLib   = 3 // the library can't be loaded
)
