//go:build unix

package identity

// modesCount says that the modes of files mean something.
const modesCount = true
