// Package ocsf tells events in the words of the Open Cybersecurity Schema
// Framework 1.8.0 (https://schema.ocsf.io/1.8.0), which security data lakes and
// SIEMs read. It is pure.
//
// What was asked of AWS, what AWS recorded and every change to postern itself is
// API Activity (6003); signing in and the end of sign-ins and sessions is
// Authentication (3002); the start of a session is Authorize Session (3003); what
// users are given and what is taken from them is User Access Management (3005);
// findings and verdicts are Detection Findings (2004). The event's own data is
// kept whole under unmapped.
package ocsf
