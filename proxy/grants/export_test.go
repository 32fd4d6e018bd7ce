package grants

// Glob is glob, for the fuzz test.
func Glob(pattern, s string) bool { return glob(pattern, s, false) }
