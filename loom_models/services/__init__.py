"""Services that know addresses and businesses, behind one interface; the offline one asks nobody."""
