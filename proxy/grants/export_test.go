package grants

import "time"

// Glob is glob, for the fuzz test.
func Glob(pattern, s string) bool { return glob(pattern, s, false) }

// Fresh says that the stream has been read, whatever time it is.
func (g *Grants) Fresh() { g.Heard(time.Unix(0, 1)) }

func Meets(pattern, part string) bool { return meets(pattern, part) }
