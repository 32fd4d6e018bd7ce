// Package identity says who somebody is: it holds the CA, issues certificates
// to users and services, reads them back, and keeps and checks passwords.
//
// Secrets lie in the sealed store that all brokers share, and never in events
// or logs.
package identity
