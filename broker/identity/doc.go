// Package identity says who somebody is: it holds the CA, issues certificates
// to users and services, reads them back, and keeps and checks passwords.
//
// Secrets stay in the broker's data directory, in files of mode 0600, and
// never in events or logs.
package identity
