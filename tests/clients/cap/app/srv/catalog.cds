using { bookshop } from '../db/schema';

service CatalogService @(requires: 'any') {
  entity Books as projection on bookshop.Books;
}
