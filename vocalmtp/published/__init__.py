"""Speech LMs of other publishers: one file a family, which loads their folders as they are."""
