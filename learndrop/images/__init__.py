"""Pictures: the files people have, the one way from file to network, the worlds they drift into."""
