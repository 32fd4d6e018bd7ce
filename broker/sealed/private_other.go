//go:build !unix

package sealed

import "io/fs"

// modesCount says that the modes of files mean something: here they do not.
const modesCount = false

func ours(fs.FileInfo) bool { return true }
