// Package resource reads and writes users, roles, apps, access lists and locks as YAML
// documents, several in a file. Reading is strict: a key that nobody knows, a
// value of the wrong sort and a reference that cannot work are refused with
// the file, the line and the path of the key.
//
// A Teleport role (kind: role, version v4 to v8) loads unchanged. Its keys that
// concern other things than AWS are accepted and reported as having no effect.
// Selectors and denials that cannot be obeyed are refused: the role would give
// more than its file says.
package resource
