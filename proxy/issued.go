package proxy

import (
	"sync"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sigv4"
)

// issued are temporary credentials that a user of this proxy holds: of the
// user's own AssumeRole, or exported. Requests that they sign are the session's.
type issued struct {
	sigv4.Credentials // as AWS gave them
	// secret is what the user signs with: AWS's, or one that only this proxy
	// knows, so that the credentials are worth nothing elsewhere.
	secret          string
	session         string
	roleARN         string
	account         string
	roleSessionName string
	sourceIdentity  string
	expires         time.Time
}

// targets are the locks that stop them, besides those of their session.
func (x *issued) targets() []events.LockTarget {
	if x == nil {
		return nil
	}
	return []events.LockTarget{{Kind: "aws_role", Name: x.roleARN}, {Kind: "account", Name: x.account}}
}

// keyring finds issued credentials by access key id, in memory. What is not there
// may be in a ticket; only credentials that work without postern have none.
type keyring struct {
	mu   sync.RWMutex
	byID map[string]*issued
}

func (k *keyring) add(x *issued) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil {
		k.byID = map[string]*issued{}
	}
	k.byID[x.AccessKeyID] = x
}

// find returns nil for an access key id that is not known.
func (k *keyring) find(accessKeyID string) *issued {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.byID[accessKeyID]
}

// sweep forgets what has expired.
func (k *keyring) sweep(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, x := range k.byID {
		if !now.Before(x.expires) {
			delete(k.byID, id)
		}
	}
}
