"""What the clinic sells: services, doctor ranks, price lists, price orders, prices, and the public price feed."""
