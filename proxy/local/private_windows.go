package local

// checkPrivate has nothing to check: a profile's directories are the user's
// own by inherited access lists, which mode bits do not show.
func checkPrivate(string) error { return nil }
