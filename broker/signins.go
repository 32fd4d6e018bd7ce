package broker

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// getSignins lists the caller's sign-ins that hold; ?user=NAME or ?user=* those
// of others.
func (b *Broker) getSignins(c *call) (any, error) {
	user := cmp.Or(c.FormValue("user"), c.who.User)
	if user == "*" || user != c.who.User { // somebody may be called *
		if err := b.require(c.who, "list", "session"); err != nil {
			return nil, err
		}
	}
	out := api.Signins{Signins: []api.Signin{}}
	b.ledger.read(func(s *access.State, now time.Time) {
		for _, serial := range slices.Sorted(maps.Keys(s.Signins)) {
			x := s.Signins[serial]
			if x.Revoked == nil && now.Before(x.ExpiresAt) && (user == "*" || user == x.User) && s.Users[x.User] != nil && x.Seq >= s.Users[x.User].CreatedSeq {
				out.Signins = append(out.Signins, api.Signin{
					Serial: serial, User: x.User, Method: x.Method, Connector: x.Connector, ClientAddr: x.ClientAddr, Device: x.Device, DeviceName: x.DeviceName,
					SignedInAt: x.At.UTC(), ExpiresAt: x.ExpiresAt, Current: serial == c.who.Serial,
				})
			}
		}
	})
	slices.SortStableFunc(out.Signins, func(a, b api.Signin) int { return a.SignedInAt.Compare(b.SignedInAt) })
	return out, nil
}

// deleteSignin revokes one of the caller's sign-ins, or anybody's if a rule
// allows to delete sessions.
func (b *Broker) deleteSignin(c *call) (any, error) {
	serial := c.PathValue("serial")
	return nil, b.do(c.Context(), c.who, func(s *access.State, env access.Env) ([]events.Event, error) {
		if x := s.Signins[serial]; x == nil || x.User != c.who.User && mustMay(s, env.Now, c.who.User, "delete", "session") != nil {
			return nil, &access.Error{Code: access.NotFound, Message: "there is no sign-in " + serial + " that " + c.who.User + " may revoke"}
		}
		return access.RevokeSignin(s, env, serial)
	})
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
