Your order {{OrderNumber}} at Usual Store
