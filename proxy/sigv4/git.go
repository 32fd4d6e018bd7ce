package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// SignGit signs what Git gives AWS CodeCommit as a password: not a request, but
// the right to pull from and push to the repository at path of host, for 15
// minutes from now on. The form is that of the AWS CLI (awscli/customizations/codecommit.py),
// whose time has no Z in the string to sign. The user name is [GitUser].
func (s *Signer) SignGit(host, path, region string, creds Credentials, now time.Time) (password string) {
	const form = "20060102T150405"
	now = now.UTC()
	scope := Scope{AccessKeyID: creds.AccessKeyID, Date: now.Format(dateFormat), Region: region, Service: "codecommit"}
	hash := sha256.Sum256([]byte("GIT\n" + path + "\n\nhost:" + host + "\n\nhost\n"))
	msg := algHMAC + "\n" + now.Format(form) + "\n" + string(scope.appendCredential(nil)) + "\n" + hex.EncodeToString(hash[:])
	sc, _ := s.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	defer s.scratch.Put(sc)
	sum := s.Keys.get(creds.SecretAccessKey, &scope).sign([]byte(msg), &sc.enc)
	return now.Format(form) + "Z" + hex.EncodeToString(sum[:])
}

// GitUser is the user name that goes with [Signer.SignGit].
func GitUser(creds Credentials) string {
	if creds.SessionToken == "" {
		return creds.AccessKeyID
	}
	return creds.AccessKeyID + "%" + creds.SessionToken
}
