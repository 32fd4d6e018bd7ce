package grants

import (
	"time"

	"github.com/posternhq/postern/events"
)

// signin is the kind of target that a certificate is, by its serial number.
const signin = "signin"

// device is the kind of target that a machine is, by its id.
const device = "device"

// Device is the target that stands for the machine that a certificate was made
// for.
func Device(id string) events.LockTarget { return events.LockTarget{Kind: device, Name: id} }

// Signin is the target that stands for the certificate with a serial number.
func Signin(serial string) events.LockTarget { return events.LockTarget{Kind: signin, Name: serial} }

// revocation makes the end of a sign-in what it is to the projection: a lock on
// its certificate. The id is none that a lock can have.
func revocation(d *events.SigninRevoked) *events.LockPlaced {
	return &events.LockPlaced{LockID: "signin/" + d.CertificateSerial, Target: Signin(d.CertificateSerial), By: d.By, ExpiresAt: &d.ExpiresAt}
}

// Revoked says why a certificate is not to be believed although its time is not
// over, or "".
func (g *Grants) Revoked(serial string, now time.Time) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var d Decision
	if t := g.targets[Signin(serial)]; t != nil && d.locked(t, now.UnixNano()) {
		return d.Reason()
	}
	return ""
}
