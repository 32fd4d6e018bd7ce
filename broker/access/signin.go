package access

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Signin is a certificate that somebody signed in for.
type Signin struct {
	*events.SigninSucceeded
	At  time.Time
	Seq uint64 // of the sign-in, 0 where only its end is known
	// Revoked is set once somebody ended it before its time.
	Revoked *events.SigninRevoked
}

// Device is a machine as of the last sign-in from it.
type Device struct {
	ID, Name, User string
	At             time.Time
	EventID        string
}

// Settings is what holds for everybody.
type Settings struct {
	events.ClusterSettings
	Revision uint64
}

// Values of the cluster setting second_factor.
const (
	FactorOff      = "off"
	FactorOptional = "optional"
	FactorRequired = "required"
)

func (s *State) applySignin(e events.Event, seq uint64) {
	switch d := e.Data.(type) {
	case *events.SigninSucceeded:
		if d.Device != "" {
			s.Devices[d.Device] = &Device{ID: d.Device, Name: d.DeviceName, User: d.User, At: e.Time, EventID: e.ID}
		}
		if s.Signins[d.CertificateSerial] == nil { // else it is a copy, and revoked may be what it copies
			s.Signins[d.CertificateSerial] = &Signin{SigninSucceeded: d, At: e.Time, Seq: seq}
		}
	case *events.SigninRevoked:
		x := Signin{SigninSucceeded: &events.SigninSucceeded{User: d.User, CertificateSerial: d.CertificateSerial, ExpiresAt: d.ExpiresAt}}
		if old := s.Signins[d.CertificateSerial]; old != nil {
			x = *old
		}
		x.Revoked = d
		s.Signins[d.CertificateSerial] = &x
	case *events.ClusterSettingsUpdated:
		s.Settings = Settings{ClusterSettings: d.ClusterSettings, Revision: s.Head(d.Channel()).Revision}
	}
}

// RevokeSignin ends a sign-in; one that is revoked already stays so.
func RevokeSignin(s *State, env Env, serial string) ([]events.Event, error) {
	x := s.Signins[serial]
	switch {
	case x == nil || !env.Now.Before(x.ExpiresAt):
		return nil, refuse(NotFound, "there is no sign-in %s that still holds", serial)
	case x.Revoked != nil:
		return nil, nil
	}
	return env.one("", "", &events.SigninRevoked{CertificateSerial: serial, User: x.User, ExpiresAt: x.ExpiresAt, By: env.By}), nil
}

// Holds says why a certificate does not hold any more although its time is not over.
func (s *State) Holds(serial string) error {
	if x := s.Signins[serial]; x != nil && x.Revoked != nil {
		return &Error{Code: Denied, Message: fmt.Sprintf("this sign-in was revoked by %s", x.Revoked.By), Next: "postern login"}
	}
	return nil
}

// OfEarlier reports whether a certificate is of an earlier user of the name; not known
// where the history has no sign-in for it.
func (s *State) OfEarlier(u *User, serial string) (earlier, known bool) {
	x := s.Signins[serial]
	if x == nil || x.Seq == 0 {
		return false, false
	}
	return x.Seq < u.CreatedSeq, true
}

// PutSettings replaces the cluster settings. There are always some.
func PutSettings(s *State, env Env, c events.ClusterSettings, p Put) ([]events.Event, error) {
	p.Replace = p.Replace || s.Settings.Revision == 0
	same := factor(s.Settings.ClusterSettings) == factor(c)
	write, err := p.decide("cluster_settings", "cluster", s.Settings.Revision, true, same, CheckSettings(c))
	if !write || err != nil {
		return nil, err
	}
	return env.one("", "", &events.ClusterSettingsUpdated{ClusterSettings: c, By: env.By}), nil
}

// factor is what settings say of second factors, which is something in any case.
func factor(c events.ClusterSettings) string { return cmp.Or(c.SecondFactor, FactorOptional) }

// CheckSettings returns what is wrong with settings, by the paths of their YAML.
func CheckSettings(c events.ClusterSettings) []policy.Fault {
	var out check
	known := []string{FactorOff, FactorOptional, FactorRequired}
	if c.SecondFactor != "" && !slices.Contains(known, c.SecondFactor) {
		out.that("spec.second_factor", fmt.Errorf("%q is none of %s", c.SecondFactor, strings.Join(known, ", ")))
	}
	return out
}
