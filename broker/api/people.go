package api

// NewPerson asks for a pseudonym.
type NewPerson struct {
	Name string `json:"name"`
}

// Person is who is behind a pseudonym.
type Person struct {
	Pseudonym string `json:"pseudonym"`
	Name      string `json:"name"`
	Connector string `json:"connector,omitempty"`
}

// People is a list of them.
type People struct {
	People []Person `json:"people"`
}

// Forgotten says what became of a person. Events are not changed.
type Forgotten struct {
	// Forgotten tells whether nobody knows any more whom events are about: not of who is
	// in them by name.
	Forgotten bool `json:"forgotten"`
	// Removed is what there is no more, Remains where the name still is.
	Removed []string `json:"removed"`
	Remains []string `json:"remains"`
}
