//go:build !unix

package identity

// modesCount says that the modes of files mean something: here they do not.
const modesCount = false
