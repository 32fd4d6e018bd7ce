package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/events"
)

// registerPurpose is what the key of the mapping's index is derived for.
const registerPurpose = "people index"

// typed is the user whom somebody means who types a name to sign in: by name, or by
// the pseudonym that stands for it.
func (b *Broker) typed(ctx context.Context, name string) (string, error) {
	pseudonym, err := b.people.Find(ctx, "", name)
	if errors.Is(err, people.ErrUnknown) {
		return name, nil
	}
	return pseudonym, err
}

// pseudonymous replaces who signed in at a connector by a pseudonym, and leaves of
// what the provider said only what gives roles.
func (b *Broker) pseudonymous(ctx context.Context, c *events.Connector, on access.SignOn) (access.SignOn, error) {
	if !c.Pseudonyms {
		return on, nil
	}
	var err error
	on.User, err = b.people.Of(ctx, c.Name, on.User, on.Account, b.now())
	if errors.Is(err, people.ErrAnother) {
		err = &access.Error{Code: access.Conflict, Message: fmt.Sprintf("%s gives this account the name of %s, which is another one there: its sub differs. Once whoever runs postern has had them forgotten (postern users forget), this account is a new user", c.Name, on.User)}
	}
	if err != nil {
		return on, err
	}
	kept := map[string][]string{}
	for _, m := range c.Mappings {
		if v := on.Traits[m.Claim]; len(v) > 0 {
			kept[m.Claim] = slices.Clone(v)
		}
	}
	on.Traits = kept
	return on, nil
}

// postPerson makes the pseudonym of somebody who is to be a user with a password.
func (b *Broker) postPerson(c *call) (any, error) {
	var in api.NewPerson
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if err := b.require(c.who, "create", "user"); err != nil {
		return nil, err
	}
	if err := access.CheckNewUserName(in.Name); err != nil {
		return nil, invalid("name: %v", err)
	}
	var taken bool
	b.ledger.read(func(s *access.State, _ time.Time) { taken = s.Users[in.Name] != nil })
	if taken || people.IsPseudonym(in.Name) {
		return nil, &access.Error{Code: access.Exists, Message: "there is a user of that name: it is in events already"}
	}
	pseudonym, err := b.people.Pseudonym(c.Context(), "", in.Name, b.now())
	if err != nil {
		return nil, b.noRegister(err)
	}
	return created{api.Person{Pseudonym: pseudonym, Name: in.Name}}, nil
}

// getPeople tells who is behind the pseudonyms, to those who may list users.
func (b *Broker) getPeople(c *call) (any, error) {
	if err := b.require(c.who, "list", "user"); err != nil {
		return nil, err
	}
	all, err := b.people.All(c.Context())
	if err != nil {
		return nil, b.noRegister(err)
	}
	out := api.People{People: []api.Person{}}
	for _, p := range all {
		out.People = append(out.People, api.Person{Pseudonym: p.Pseudonym, Name: p.Name, Connector: p.Connector})
	}
	return out, nil
}

// postForget destroys what says who a user is, and ends the user. What is recorded as
// forgotten is: so the record comes last. Of who is known by name it destroys all that
// is no event, and says where the name stays.
func (b *Broker) postForget(c *call) (any, error) {
	name := c.PathValue("name")
	_, err := b.people.Who(c.Context(), name)
	if err != nil && !errors.Is(err, people.ErrUnknown) {
		return nil, b.noRegister(err)
	}
	known, pseudonym := err == nil, people.IsPseudonym(name)
	decide := func(s *access.State, env access.Env) ([]events.Event, error) {
		if err := mustMay(s, env.Now, c.who.User, "delete", "user"); err != nil {
			return nil, err
		}
		if pseudonym {
			return access.ForgetUser(s, env, name, known)
		}
		return access.EndUser(s, env, name)
	}
	if _, err := b.could(c, decide); err != nil {
		return nil, err
	}
	err = b.people.Forget(c.Context(), name)
	if err == nil {
		err = b.passwords.Delete(c.Context(), name)
	}
	if err != nil {
		return nil, b.noRegister(err)
	}
	if err := b.do(c.Context(), c.who, decide); err != nil {
		return nil, err
	}
	if pseudonym {
		return api.Forgotten{Forgotten: true, Removed: []string{"who is behind " + name, "the password's hash", "the user, whose sessions end and whose second factors count for nothing"}, Remains: []string{}}, nil
	}
	return api.Forgotten{
		Removed: []string{"the password's hash", "the user, whose sessions end and whose second factors count for nothing"},
		Remains: []string{
			"events of ACCESS: the user's own (access.user." + name + "), sign-ins with addresses and devices, second factors by name, sessions, requests, reviews, locks and memberships, and what " + name + " did to others",
			"events of AUDIT and FINDINGS: every call, with the name, and findings about them",
			"ClickHouse: the rows of those events and the tables that are made of them; an erased row is a fault of postern audit verify",
			"the transparency logs: hashes of those events, and no name",
			"AWS: role session names and source identities in CloudTrail, and what postern read of it into CLOUDTRAIL",
			"whoever was sent those events, snapshots on brokers' disks, bundles, and backups",
		},
	}, nil
}

// noRegister says that what tells people from pseudonyms is out of reach.
func (b *Broker) noRegister(err error) error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable,
		Message: fmt.Sprintf("the register of who is behind which pseudonym is out of reach, in NATS at %s: %v", b.cfg.Journal.Server(), err),
		Next:    "the same again, once NATS answers"}
}
