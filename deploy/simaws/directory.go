package simaws

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// User is an IAM user. Policy is optional identity policy JSON; without one
// the user may do everything in its account.
type User struct {
	Account, Name string
	Partition     string // "aws" when empty; keys work in their own partition only
	Policy        string
}

// Role is an IAM role. Sessions of a role without Policy may do everything.
type Role struct {
	ARN                string
	TrustPolicy        string        // JSON; who may assume it
	MaxSessionDuration time.Duration // 1 h when zero; 1 h to 12 h
	Policy             string        // JSON, optional
	Description        string
}

// AccessKey is a long-lived credential (AKIA…).
type AccessKey struct {
	ID, Secret string
}

// directory is IAM's state: users, their keys, roles. Session tokens carry
// their own state, encrypted, so that a restart does not end them.
type directory struct {
	file  string
	clock func() time.Time

	mu    sync.RWMutex
	state directoryState
}

type directoryState struct {
	TokenKey []byte
	Users    map[string]*userRecord // by ARN
	Keys     map[string]*keyRecord  // by access key id
	Roles    map[string]*roleRecord // by ARN
}

type userRecord struct {
	Account, Name, Partition, ID, ARN, Policy string
	Created                                   time.Time
	policy                                    *policyDoc
}

type keyRecord struct {
	ID, Secret, UserARN string
	Created             time.Time
}

type roleRecord struct {
	Role
	Account, Name, ID string
	Created           time.Time
	// Inline are policies put by clients, by name. They count for what they deny:
	// what a role may do is Policy's to say.
	Inline        map[string]string `json:",omitempty"`
	trust, policy *policyDoc
	inline        []*policyDoc
}

var (
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
	iamName   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

func openDirectory(file string, clock func() time.Time) (*directory, error) {
	d := &directory{file: file, clock: clock}
	d.state = directoryState{Users: map[string]*userRecord{}, Keys: map[string]*keyRecord{}, Roles: map[string]*roleRecord{}}
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		d.state.TokenKey = []byte(randomFrom(alnum, 32))
		return d, d.save()
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &d.state); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, u := range d.state.Users {
		if u.Policy != "" {
			if u.policy, err = parsePolicy(u.Policy); err != nil {
				return nil, fmt.Errorf("%s: user %s: %w", file, u.ARN, err)
			}
		}
	}
	for _, r := range d.state.Roles {
		if err := r.parse(); err != nil {
			return nil, fmt.Errorf("%s: role %s: %w", file, r.ARN, err)
		}
	}
	return d, nil
}

// save writes the state; the caller holds mu or is alone.
func (d *directory) save() error {
	raw, err := json.MarshalIndent(d.state, "", " ")
	if err != nil {
		return err
	}
	return writeFile(d.file, raw, 0o600)
}

func (r *roleRecord) parse() (err error) {
	if r.trust, err = parsePolicy(r.TrustPolicy); err != nil {
		return fmt.Errorf("trust policy: %w", err)
	}
	if r.Policy != "" {
		if r.policy, err = parsePolicy(r.Policy); err != nil {
			return fmt.Errorf("permission policy: %w", err)
		}
	}
	r.inline = nil
	for name, text := range r.Inline {
		p, err := parsePolicy(text)
		if err != nil {
			return fmt.Errorf("inline policy %s: %w", name, err)
		}
		r.inline = append(r.inline, p)
	}
	return nil
}

// PutUser creates or updates a user.
func (s *Sim) PutUser(u User) error {
	if !accountID.MatchString(u.Account) || !iamName.MatchString(u.Name) {
		return fmt.Errorf("simaws: user %q of account %q: want 12 digits and an IAM user name", u.Name, u.Account)
	}
	if u.Partition == "" {
		u.Partition = "aws"
	}
	rec := &userRecord{Account: u.Account, Name: u.Name, Partition: u.Partition, Policy: u.Policy, Created: s.now(),
		ID: uniqueID("AIDA"), ARN: "arn:" + u.Partition + ":iam::" + u.Account + ":user/" + u.Name}
	if u.Policy != "" {
		var err error
		if rec.policy, err = parsePolicy(u.Policy); err != nil {
			return fmt.Errorf("simaws: user %s: %w", rec.ARN, err)
		}
	}
	d := s.iam
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.state.Users[rec.ARN]; old != nil {
		rec.ID, rec.Created = old.ID, old.Created
	}
	d.state.Users[rec.ARN] = rec
	return d.save()
}

// AccessKey returns the user's access key, making user and key when they do
// not exist, so that a restart on the same Dir hands out the same key.
func (s *Sim) AccessKey(account, userName string) (AccessKey, error) {
	d := s.iam
	d.mu.Lock()
	u := d.userByName(account, userName)
	var have []*keyRecord
	if u != nil {
		for _, k := range d.state.Keys {
			if k.UserARN == u.ARN {
				have = append(have, k)
			}
		}
	}
	d.mu.Unlock()
	if len(have) > 0 {
		k := slices.MinFunc(have, func(a, b *keyRecord) int { return strings.Compare(a.ID, b.ID) })
		return AccessKey{k.ID, k.Secret}, nil
	}
	if u == nil {
		if err := s.PutUser(User{Account: account, Name: userName}); err != nil {
			return AccessKey{}, err
		}
	}
	return s.CreateAccessKey(account, userName)
}

// CreateAccessKey adds a key to an existing user.
func (s *Sim) CreateAccessKey(account, userName string) (AccessKey, error) {
	d := s.iam
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.userByName(account, userName)
	if u == nil {
		return AccessKey{}, fmt.Errorf("simaws: account %s has no user %q", account, userName)
	}
	k := &keyRecord{ID: accessKeyID("AKIA"), Secret: secretKey(), UserARN: u.ARN, Created: d.clock().UTC()}
	d.state.Keys[k.ID] = k
	return AccessKey{k.ID, k.Secret}, d.save()
}

// PutRole creates or updates a role. Its sessions keep working.
func (s *Sim) PutRole(r Role) error {
	_, service, _, account, resource, ok := splitARN(r.ARN)
	path, isRole := strings.CutPrefix(resource, "role/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	if !ok || service != "iam" || !isRole || !accountID.MatchString(account) || !iamName.MatchString(name) {
		return fmt.Errorf("simaws: role ARN %q: want arn:aws:iam::123456789012:role/Name", r.ARN)
	}
	if r.MaxSessionDuration == 0 {
		r.MaxSessionDuration = time.Hour
	}
	if r.MaxSessionDuration < time.Hour || r.MaxSessionDuration > 12*time.Hour {
		return fmt.Errorf("simaws: role %s: max session duration %s is not between 1h and 12h", r.ARN, r.MaxSessionDuration)
	}
	rec := &roleRecord{Role: r, Account: account, Name: name, ID: uniqueID("AROA"), Created: s.now()}
	if err := rec.parse(); err != nil {
		return fmt.Errorf("simaws: role %s: %w", r.ARN, err)
	}
	d := s.iam
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.state.Roles[r.ARN]; old != nil {
		rec.ID, rec.Created, rec.Inline, rec.inline = old.ID, old.Created, old.Inline, old.inline
	}
	d.state.Roles[r.ARN] = rec
	return d.save()
}

// DeleteRole removes a role; its sessions stop at once.
func (s *Sim) DeleteRole(arn string) error {
	d := s.iam
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.state.Roles, arn)
	return d.save()
}

func (d *directory) role(arn string) *roleRecord {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.Roles[arn]
}

// roleByName finds a role of an account, whatever its path.
func (d *directory) roleByName(account, name string) *roleRecord {
	for _, r := range d.roles(account) {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func (d *directory) roles(account string) []*roleRecord {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []*roleRecord
	for _, arn := range slices.Sorted(maps.Keys(d.state.Roles)) {
		if r := d.state.Roles[arn]; r.Account == account {
			out = append(out, r)
		}
	}
	return out
}

// userByName finds a user of an account; the caller holds mu.
func (d *directory) userByName(account, name string) *userRecord {
	for _, u := range d.state.Users {
		if u.Account == account && u.Name == name {
			return u
		}
	}
	return nil
}

func (d *directory) user(arn string) *userRecord {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.Users[arn]
}

// longLived resolves an AKIA… key; nil when it does not exist.
func (d *directory) longLived(id string) *identity {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k := d.state.Keys[id]
	if k == nil {
		return nil
	}
	u := d.state.Users[k.UserARN]
	if u == nil {
		return nil
	}
	return &identity{partition: u.Partition, account: u.Account, accessKey: k.ID, secret: k.Secret,
		userName: u.Name, userID: u.ID, userARN: u.ARN, policy: u.policy}
}
