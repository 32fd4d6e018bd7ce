// Package joining verifies what services prove when they join: that AWS's STS
// names a principal, that AWS signed an instance's identity document, that a
// Kubernetes cluster signed a service account's JWT. What is proved is compared
// with the token by broker/access.
package joining
