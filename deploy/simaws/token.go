package simaws

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// tokenPrefix makes session tokens look like what people expect of AWS.
const tokenPrefix = "IQoJ"

var (
	errTokenInvalid = errors.New("token is malformed or not of this AWS")
	errTokenExpired = errors.New("token has expired")
)

// The kinds of temporary credentials.
const (
	ordinarySession = "session"
	bucketSession   = "s3session" // S3 Express's, good for one bucket
)

// session is what a session token carries, sealed with the directory's key:
// as with AWS, the token is the state.
type session struct {
	Kind           string // one of the kinds, or "signin"
	AccessKey      string
	Secret         string
	RoleARN        string            `json:",omitempty"`
	RoleID         string            `json:",omitempty"`
	SessionName    string            `json:",omitempty"`
	UserARN        string            `json:",omitempty"`
	SourceIdentity string            `json:",omitempty"`
	Tags           map[string]string `json:",omitempty"`
	Transitive     []string          `json:",omitempty"`
	Chained        bool              `json:",omitempty"`
	Policy         string            `json:",omitempty"`
	Bucket         string            `json:",omitempty"`
	ReadOnly       bool              `json:",omitempty"`
	Issued         time.Time
	Expires        time.Time
	// Console sign-in only: when the token stops being exchangeable.
	ConsoleUntil time.Time `json:",omitzero"`
}

func (d *directory) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(d.state.TokenKey)
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (d *directory) seal(s session) (string, error) {
	aead, err := d.aead()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return tokenPrefix + base64.StdEncoding.EncodeToString(aead.Seal(nil, nil, plain, []byte(s.Kind))), nil
}

func (d *directory) open(kind, token string) (session, error) {
	var s session
	raw, ok := strings.CutPrefix(token, tokenPrefix)
	sealed, err := base64.StdEncoding.DecodeString(raw)
	if !ok || err != nil {
		return s, errTokenInvalid
	}
	aead, err := d.aead()
	if err != nil {
		return s, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(kind))
	if err != nil {
		return s, errTokenInvalid
	}
	if err := json.Unmarshal(plain, &s); err != nil {
		return s, errTokenInvalid
	}
	return s, nil
}

// session resolves temporary credentials. The key must be the token's own.
func (d *directory) session(kind, accessKey, token string, now time.Time) (*identity, error) {
	s, err := d.open(kind, token)
	if err != nil {
		return nil, err
	}
	if s.AccessKey != accessKey {
		return nil, errTokenInvalid
	}
	id, err := d.identityOf(s)
	if err != nil {
		return nil, err
	}
	if !now.Before(s.Expires) {
		return nil, errTokenExpired
	}
	return id, nil
}

func (d *directory) identityOf(s session) (*identity, error) {
	id := &identity{accessKey: s.AccessKey, secret: s.Secret,
		issued: s.Issued, expires: s.Expires,
		bucket: s.Bucket, readOnly: s.ReadOnly,
		sourceIdentity: s.SourceIdentity, tags: s.Tags, transitive: s.Transitive, chained: s.Chained}
	if s.Policy != "" {
		p, err := parsePolicy(s.Policy)
		if err != nil {
			return nil, err
		}
		id.sessionPolicy = p
	}
	if s.RoleARN == "" {
		u := d.user(s.UserARN)
		if u == nil {
			return nil, errTokenInvalid
		}
		id.partition = u.Partition
		id.account, id.userName, id.userID, id.userARN, id.policy = u.Account, u.Name, u.ID, u.ARN, u.policy
		return id, nil
	}
	r := d.role(s.RoleARN)
	// A role that was deleted and made again is another role.
	if r == nil || r.ID != s.RoleID {
		return nil, errTokenInvalid
	}
	id.partition, _, _, _, _, _ = splitARN(r.ARN)
	id.account, id.roleARN, id.roleName, id.roleID, id.policy = r.Account, r.ARN, r.Name, r.ID, r.policy
	id.inline = r.inline
	id.sessionName = s.SessionName
	return id, nil
}

// issue makes fresh temporary credentials out of a session's description.
func (d *directory) issue(s session) (session, string, error) {
	s.Kind = cmp.Or(s.Kind, ordinarySession)
	s.AccessKey, s.Secret = accessKeyID("ASIA"), secretKey()
	token, err := d.seal(s)
	return s, token, err
}
