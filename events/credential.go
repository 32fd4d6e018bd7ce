package events

import "time"

// Factor is a second factor of a user. What is secret about it is in no event.
type Factor struct {
	ID string `json:"id"`
	// Kind is "totp" or "webauthn".
	Kind string `json:"kind"`
	// Name is how the user calls it.
	Name    string    `json:"name,omitempty"`
	AddedAt time.Time `json:"added_at"`
	// Counter as in CredentialFactorUsed, when it was registered.
	Counter int64 `json:"counter,omitempty"`
	// PublicKey is a WebAuthn credential's.
	PublicKey *PublicKey `json:"public_key,omitempty"`
}

// PublicKey is what a WebAuthn authenticator's answers are checked with
// (https://www.w3.org/TR/webauthn-3/#credential-record).
type PublicKey struct {
	// CredentialID and COSE, a COSE_Key, are in base64url without padding.
	CredentialID   string   `json:"credential_id"`
	COSE           string   `json:"cose"`
	BackupEligible bool     `json:"backup_eligible,omitempty"`
	Transports     []string `json:"transports,omitempty"`
}

// CredentialInvited says that whoever holds a link may set the user's password
// and second factor, once. It takes the place of an earlier invitation.
type CredentialInvited struct {
	User         string    `json:"user"`
	InvitationID string    `json:"invitation_id"`
	ExpiresAt    time.Time `json:"expires_at"`
	By           string    `json:"by"`
}

// CredentialEnrolled says that an invitation was used: the password is new, and
// Factors are all that the user has from now on.
type CredentialEnrolled struct {
	User         string   `json:"user"`
	InvitationID string   `json:"invitation_id"`
	Factors      []Factor `json:"factors,omitempty"`
	ClientAddr   string   `json:"client_addr,omitempty"`
}

// CredentialFactorAdded gives a user one more second factor.
type CredentialFactorAdded struct {
	User   string `json:"user"`
	Factor Factor `json:"factor"`
	By     string `json:"by"`
}

// CredentialFactorRemoved takes a second factor away.
type CredentialFactorRemoved struct {
	User     string `json:"user"`
	FactorID string `json:"factor_id"`
	By       string `json:"by"`
}

// CredentialFactorUsed says that a user proved to hold a second factor. No
// other proof of the same counter (TOTP) or challenge (WebAuthn) counts.
type CredentialFactorUsed struct {
	User     string `json:"user"`
	FactorID string `json:"factor_id"`
	// Counter is the time step of a TOTP code (RFC 6238) or the signature counter
	// of a WebAuthn authenticator.
	Counter     int64  `json:"counter"`
	ChallengeID string `json:"challenge_id,omitempty"`
	// Purpose is "signin", "session" or "factor".
	Purpose    string `json:"purpose"`
	ClientAddr string `json:"client_addr,omitempty"`
}

func (e *CredentialInvited) Channel() string       { return channel("access", "credential", e.User) }
func (e *CredentialInvited) Thing() string         { return "user/" + e.User }
func (e *CredentialEnrolled) Channel() string      { return channel("access", "credential", e.User) }
func (e *CredentialEnrolled) Thing() string        { return "user/" + e.User }
func (e *CredentialFactorAdded) Channel() string   { return channel("access", "credential", e.User) }
func (e *CredentialFactorAdded) Thing() string     { return "user/" + e.User }
func (e *CredentialFactorRemoved) Channel() string { return channel("access", "credential", e.User) }
func (e *CredentialFactorRemoved) Thing() string   { return "user/" + e.User }
func (e *CredentialFactorUsed) Channel() string    { return channel("access", "credential", e.User) }
func (e *CredentialFactorUsed) Thing() string      { return "user/" + e.User }

// SigninRevoked ends a sign-in before its certificate's time: the certificate is
// refused from now on, and the sessions started with it end.
type SigninRevoked struct {
	CertificateSerial string `json:"certificate_serial"`
	User              string `json:"user"`
	// ExpiresAt is the certificate's end, after which this may be forgotten.
	ExpiresAt time.Time `json:"expires_at"`
	By        string    `json:"by"`
}

func (e *SigninRevoked) Channel() string {
	return channel("access", "certificate", e.CertificateSerial)
}
func (e *SigninRevoked) Thing() string { return "certificate/" + e.CertificateSerial }

// ClusterSettings is what holds for everybody.
type ClusterSettings struct {
	// SecondFactor is "off", "optional" (asked of those who have one) or
	// "required"; empty means optional.
	SecondFactor string `json:"second_factor,omitempty"`
}

// ClusterSettingsUpdated carries all settings after a change.
type ClusterSettingsUpdated struct {
	ClusterSettings
	By string `json:"by"`
}

func (e *ClusterSettingsUpdated) Channel() string { return "access.cluster_settings" }
func (e *ClusterSettingsUpdated) Thing() string   { return "cluster_settings" }
