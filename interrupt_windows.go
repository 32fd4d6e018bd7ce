package main

import "os"

func passedOn() []os.Signal { return ending() }

// typed: a console tells all of its processes, and there is no way to tell one alone.
func typed(os.Signal) bool { return true }
