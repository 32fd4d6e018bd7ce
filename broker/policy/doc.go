// Package policy answers "may they?": which AWS roles of an app somebody's
// roles reach, for how long and for which calls, what they may ask for and
// review, and which of postern's own resources they may touch. It is pure:
// roles and traits come in, answers go out, and time is an argument.
//
// Deny wins over allow, everywhere. Whatever cannot be understood (a template
// without its trait, a condition that this version cannot evaluate) allows
// nothing.
package policy
